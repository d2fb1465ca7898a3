-- Notes that a worker runs. KEYS: all workers, by when they last said so in ms. ARGV: worker, life ms, and the time in
-- ms by the worker's clock, which counts if Redis does not tell the time.
local time = redis.pcall('TIME')
local now = time.err and tonumber(ARGV[3]) or time[1] * 1000 + math.floor(time[2] / 1000)
redis.pcall('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
local added = redis.pcall('ZADD', KEYS[1], now, ARGV[1])
if type(added) == 'table' and string.find(added.err, 'WRONGTYPE', 1, true) then
  redis.call('DEL', KEYS[1])
  redis.call('ZADD', KEYS[1], now, ARGV[1])
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
