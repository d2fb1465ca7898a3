-- Sets a key that nobody has set. KEYS: the key. ARGV: value, life ms. Answers the value that it had before. One of
-- another type or with characters that no value of ours has is replaced, which ODDKEY tells (script.rs), and one without
-- an end gets one.
local earlier = redis.pcall('GET', KEYS[1])
if type(earlier) == 'table' and not string.find(earlier.err, 'WRONGTYPE', 1, true) then
  return earlier
elseif type(earlier) == 'string' and string.find(earlier, '^[%w._~ %-]+$') then
  if redis.call('PTTL', KEYS[1]) == -1 then
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
  end
  return earlier
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return earlier and redis.error_reply('ODDKEY it held something else') or false
