-- Extend locks, each by itself.
--
-- keys   queue...
-- args   lock
-- each   held: queue id token
-- wire   W-53
-- reply  for each lock: 1 if it is held, else 0
local answers = {}
for i = 1, #each.held do
  local held = each.held[i]
  local lock = held.queue.base .. held.id .. ":lock"
  -- What is not a lock is an error, which is no token either.
  local mine = attempt("GET", lock) == held.token
  if mine then
    call("PEXPIRE", lock, arg.lock)
    attempt("SREM", held.queue.stalled, held.id)
  end
  answers[i] = mine and 1 or 0
end
return answers
