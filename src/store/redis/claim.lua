-- Claims a login. KEYS: result, claim. ARGV: the claim of one that nobody has claimed before, keep ms.
-- A claim is a text: times asked, whether an answer may have been missed, the ms by which the key outlives the lease (so
-- Redis' own expiry keeps the time of both), and the owner, or none once it was given back.
-- Answers nothing where it is mine and new, else {recorded} | {held, ms left} | {mine, times asked before, whether an
-- answer may have been missed}, each with the kind of a key that held something else and was replaced, or ''.
local odd = ''
if redis.call('EXISTS', KEYS[1]) == 1 then
  if status_of(KEYS[1]) ~= 'odd' then
    return {'recorded', 0, 0, ''}
  end
  redis.call('DEL', KEYS[1])
  odd = 'result'
end
-- This write comes first: a Redis that is full refuses it here, and not the result later, when the code is spent.
if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then
  if odd ~= '' then
    return {'mine', 0, 0, odd}
  end
  return false
end
local words = '^(%d+) (%d) (%d+) (.*)$'
local _, _, outlives, mine = string.match(ARGV[1], words)
local owner, asked, unheard, left
local claim = redis.pcall('GET', KEYS[2])
if type(claim) == 'string' then
  local earlier
  asked, unheard, earlier, owner = string.match(claim, words)
  if asked and #asked < 10 and #earlier < 13 then
    local ends = redis.call('PTTL', KEYS[2])
    if ends == -1 or ends > 2 * ARGV[2] then
      -- It would be held for ever, or longer than any claim is. Its owner may be asking, and has one lease from now.
      ends = ARGV[2] - outlives + earlier
      redis.call('SET', KEYS[2], claim, 'PX', ends)
    end
    left = ends - earlier
  end
elseif type(claim) == 'table' and not string.find(claim.err, 'WRONGTYPE', 1, true) then
  return claim
else
  -- A worker's that was started before claims were texts: a hash.
  local hash = redis.pcall('HMGET', KEYS[2], 'owner', 'asked', 'unheard', 'until')
  local ends = not hash.err and tonumber(hash[4])
  if ends and hash[1] and tonumber(hash[2]) and tonumber(hash[3]) then
    local time = redis.pcall('TIME')
    owner, asked, unheard = hash[1], hash[2], hash[3]
    left = time.err and 0 or ends - (time[1] * 1000 + math.floor(time[2] / 1000))
  end
end
if not left then
  -- No claim at all. If it has replaced one, an answer may have been missed.
  owner, asked, unheard, odd = '', 0, 1, 'claim'
elseif owner == mine then
  -- The same claim once more: its answer was lost on the way, and nobody has asked yet.
  asked = asked - 1
elseif owner ~= '' and left > 0 then
  return {'held', left, 0, odd}
elseif owner ~= '' then
  -- One that ran out may have missed an answer; one that was given back has said so itself.
  unheard = 1
end
redis.call('SET', KEYS[2], table.concat({asked + 1, unheard, outlives, mine}, ' '), 'PX', ARGV[2])
return {'mine', tonumber(asked), tonumber(unheard), odd}
