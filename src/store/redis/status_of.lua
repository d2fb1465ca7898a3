-- Begins every script that asks whether there is a result. Says what is in the key of a result: its status, nothing, or
-- 'odd' if it holds another type or no result. What is odd was not written by us and counts as missing.
local function status_of(key)
  local text = redis.pcall('GET', key)
  if not text then
    return false
  elseif type(text) == 'table' then
    if not string.find(text.err, 'WRONGTYPE', 1, true) then
      redis.call('GET', key)
    end
    return 'odd'
  end
  local readable, result = pcall(cjson.decode, text)
  local status = readable and type(result) == 'table' and result.status
  return (status == 'succeeded' or status == 'failed') and status or 'odd'
end
