-- Gives a claim back. KEYS: result, claim. ARGV: owner, times asked, whether an answer was missed.
if redis.call('HGET', KEYS[2], 'owner') == ARGV[1] then
  redis.call('HSET', KEYS[2], 'owner', '', 'asked', ARGV[2], 'until', 0, 'unheard', ARGV[3], 'returned', 1)
end
