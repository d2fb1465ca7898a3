-- Renews a lease before asking again. KEYS: result, claim. ARGV: owner, times asked, lease ms. Answers 1, or 0 when the
-- claim is someone else's. What a claim is, claim.lua tells; one that is no text is of another version, and not ours.
local claim = redis.pcall('GET', KEYS[2])
local unheard, owner = string.match(type(claim) == 'string' and claim or '', '^%d+ (%d) %d+ (.*)$')
if owner ~= ARGV[1] then
  return 0
end
local lease = tonumber(ARGV[3])
local kept = math.max(redis.call('PTTL', KEYS[2]), lease)
redis.call('SET', KEYS[2], table.concat({ARGV[2], unheard, kept - lease, owner}, ' '), 'PX', kept)
return 1
