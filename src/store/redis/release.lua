-- Gives a claim back. KEYS: result, claim. ARGV: owner, times asked, whether an answer was missed.
-- What a claim is, claim.lua tells; one that is no text is of another version, and not ours.
local claim = redis.pcall('GET', KEYS[2])
if type(claim) == 'string' and string.match(claim, '^%d+ %d %d+ (.*)$') == ARGV[1] then
  -- It ends when it would have; one without an end, after five minutes, when its code is worth nothing.
  local left = redis.call('PTTL', KEYS[2])
  left = left < 0 and 300000 or math.max(left, 1)
  redis.call('SET', KEYS[2], table.concat({ARGV[2], ARGV[3], 0, ''}, ' '), 'PX', left)
end
