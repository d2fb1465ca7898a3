-- Tries commands on a key that nothing uses. KEYS: the key. ARGV: the commands. Answers nothing if all may be called,
-- else {command, error text} of the first that may not. What is written ends after a millisecond.
local key = KEYS[1]
local tries = {
  DEL = {'DEL', key},
  EXISTS = {'EXISTS', key},
  GET = {'GET', key},
  HGET = {'HGET', key, 'f'},
  HMGET = {'HMGET', key, 'f'},
  HSET = {'HSET', key, 'f', '1'},
  PEXPIRE = {'PEXPIRE', key, '1'},
  PTTL = {'PTTL', key},
  SET = {'SET', key, '1', 'PX', '1'},
  ZADD = {'ZADD', key, '1', 'm'},
  ZCARD = {'ZCARD', key},
  ZRANGE = {'ZRANGE', key, '-1', '-1', 'WITHSCORES'},
  ZREMRANGEBYSCORE = {'ZREMRANGEBYSCORE', key, '-inf', '0'},
}
for _, name in ipairs(ARGV) do
  local answer = redis.pcall(unpack(tries[name]))
  if type(answer) == 'table' and answer.err and not string.find(answer.err, 'WRONGTYPE', 1, true) then
    return {name, answer.err}
  end
end
return false
