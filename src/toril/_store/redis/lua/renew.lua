-- Extend locks, and announce the worker that holds them.
--
-- keys   queue...
-- args   lock worker info seen workers note keep
-- each   held: queue id token
-- wire   W-53 W-128
-- reply  for each lock: 1 if it is held, else 0
local answers = {}
for i = 1, #each.held do
  local held = each.held[i]
  local lock = held.queue.base .. held.id .. ":lock"
  local mine = call("GET", lock) == held.token
  if mine then
    call("PEXPIRE", lock, arg.lock)
    call("SREM", held.queue.stalled, held.id)
  end
  answers[i] = mine and 1 or 0
end
if arg.worker ~= "" then
  -- Without room left the locks are extended all the same.
  redis.pcall("SET", arg.note, arg.info, "PX", arg.keep)
  redis.pcall("ZADD", arg.workers, arg.seen, arg.worker)
end
return answers
