-- Keeps a ticket. KEYS: ticket. ARGV: JSON, when it was made in s, life ms, the latest s that a ticket can be made at.
-- Answers 1, or 0 when the one that is there is newer. One that cannot be read, does not say when it was made, or says a
-- time in the future, is older than any.
local text = redis.pcall('GET', KEYS[1])
local readable, earlier = pcall(cjson.decode, type(text) == 'string' and text or '')
local earlier_s = readable and type(earlier) == 'table' and tonumber(earlier.created_s) or 0
if earlier_s > tonumber(ARGV[2]) and earlier_s <= tonumber(ARGV[4]) then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
return 1
