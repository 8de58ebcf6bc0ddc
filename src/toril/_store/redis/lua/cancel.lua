-- End jobs that somebody wants to end: who waits fails at once, of who runs the wish is noted.
--
-- keys   queue...
-- args   caller number now prefix
-- each   wish: queue id token reason
-- use    alone clock event finished job once schedule settle wake where
-- emits  failed
-- makes  the queues of parents and of dead letters
-- wire   W-20 W-102 W-134
-- reply  for each wish: done · missing · lost · owned · a fault · the state that it cannot be cancelled in;
--        what is missing at the end was not looked at
local LOOKS_A_CALL = 200000
local ENDED = { completed = true, failed = true }

local function refusal(q, wish, role)
  local key = q.base .. wish.id
  if not job.exists(key) then
    return "missing"
  elseif wish.token ~= "" and call("GET", key .. ":lock") ~= wish.token then
    return "lost"
  elseif ENDED[role] then
    return role
  elseif role ~= "active" and schedule.owns(q, wish.id) then
    return "owned"
  end
end

local function cancel(wish, now)
  local q = wish.queue
  where.check(q)
  local role = where.role(q, wish.id)
  local word = refusal(q, wish, role)
  if word then
    return word
  end
  if role == "active" then
    settle.ask(q, wish.id, wish.reason)
  else
    local prev = where.state(q, wish.id)
    if role then
      where.out(q, role, wish.id)
    end
    settle.cancel(wish, prev, now)
  end
  return "done"
end

local function main()
  local now, answers = clock.now(arg.now), {}
  while #answers < #each.wish and where.looked < LOOKS_A_CALL do
    answers[#answers + 1] = alone.run(cancel, each.wish[#answers + 1], now)
  end
  finished.close(now)
  wake.all()
  event.close()
  return answers
end

return once.run(main)
