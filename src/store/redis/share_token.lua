-- Shares a fresh token and ends the lead. KEYS: token, refresh, refusal, authorizer. ARGV: leader, JSON, life ms, and
-- where WeChat returned a refresh token: its platform, the one it was had with (or nothing), and the new one.
-- The refresh token goes first, and whoever leads: it has no other home, unless another has brought a newer one.
if ARGV[4] then
  local kept = redis.pcall('HMGET', KEYS[4], 'platform', 'refresh_token')
  if kept.err then
    if not string.find(kept.err, 'WRONGTYPE', 1, true) then
      return kept
    end
    -- It holds no refresh token of ours.
    redis.call('DEL', KEYS[4])
  end
  if kept[1] ~= ARGV[4] or (kept[2] or '') == ARGV[5] then
    redis.call('HSET', KEYS[4], 'platform', ARGV[4], 'refresh_token', ARGV[6])
  end
end
-- A leader that was overtaken shares no token, and answers 0: its token may be the older one.
if redis.pcall('GET', KEYS[2]) == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  redis.call('DEL', KEYS[2], KEYS[3])
  return 1
end
return 0
