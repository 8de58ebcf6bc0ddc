-- Carry out decisions on claimed jobs, an answer each, then claim as asked; delayed jobs that are
-- due come first. Most calls take the short way.
--
-- keys   queue...
-- args   caller number now prefix
-- each   done: queue id token run made keep result started wait slot
-- each   decision: queue id token run made stalls action result reason stack text delay counted unknown exhausted keep front pause tried crash started wait slot fingerprint fault
-- each   request: queue limit token lock worker max window
-- each   skip: request name
-- short  short_finish
-- use    alone claiming clock event finished once settle wake
-- emits  completed failed retries-exhausted delayed waiting stalled waiting-children drained active added
-- makes  the queues of parents and of dead letters
-- wire   W-33 W-50 W-51 W-100 W-101 W-102 W-103 W-104 W-105 W-106 W-107 W-108 W-150 W-153
-- reply  now; words; for each request: jobs, time of the next look, what holds jobs back; and what
--        could not be done beside that
-- What a decision says that just completes its job.
local COMPLETES = { action = "complete", counted = "1", pause = "0", stack = "", reason = "" }

-- Give who holds the locks, in one step.
local function holders(decisions)
  local keys = {}
  for i = 1, #decisions do
    keys[i] = decisions[i].queue.base .. decisions[i].id .. ":lock"
  end
  return call("MGET", unpack(keys))
end

-- See in one step that nobody has children, as is usual; otherwise each is looked at.
local function look_for_children(decisions)
  local keys = {}
  for i = 1, #decisions do
    local key = decisions[i].queue.base .. decisions[i].id
    keys[#keys + 1] = key .. ":dependencies"
    keys[#keys + 1] = key .. ":unsuccessful"
  end
  local any = call("EXISTS", unpack(keys)) > 0
  for i = 1, #decisions do
    decisions[i].family = any or decisions[i].action == "await-children"
  end
end

-- Give the locks of settled jobs back.
local function unlock()
  for _, q in pairs(known) do
    if q.settled and #q.settled.ids > 0 then
      call("DEL", unpack(q.settled.locks))
      alone.beside(call, "SREM", q.stalled, unpack(q.settled.ids))
    end
  end
end

-- Announce the queues that ran dry with this call, and wake others where a place became free.
local function look_round(answers)
  local goes_on = {}
  for i = 1, #answers do
    local answer = answers[i]
    goes_on[each.request[i].queue] = #answer[1] > 0 or answer[2] or answer[3] ~= ""
  end
  for _, q in pairs(known) do
    if q.settled and not goes_on[q] then
      local left = call("LLEN", q.wait) + call("ZCARD", q.prioritized)
      if left > 0 then
        wake.soon(q)
      elseif q.closed and call("LLEN", q.active) == 0 then
        event.emit(q, "drained")
      end
    end
  end
end

-- Give all decisions: where jobs just complete, those say no more than that.
local function given()
  for i = 1, #each.done do
    each.decision[i] = setmetatable(each.done[i], { __index = COMPLETES })
  end
  return each.decision
end

local function main()
  local now = clock.now(arg.now)
  local decisions, words = given(), {}
  if #decisions > 0 then
    look_for_children(decisions)
    local locks = holders(decisions)
    for i = 1, #decisions do
      words[i] = alone.run(settle.one, decisions[i], locks[i], now)
    end
    finished.close(now)
    unlock()
  end
  local answers, kept = claiming.all(now)
  alone.run(look_round, answers)
  wake.all()
  event.close()
  return { now, words, answers, alone.faults }, { now, words, kept }
end

-- Answer as before: from what this way kept, or the short one, which keeps it as numbers and ids.
local function again(kept, count, due, ...)
  if type(kept) == "number" then
    local words = {}
    for i = 1, count do
      words[i] = "completed"
    end
    kept = { kept, words, { { { ... }, due, "" } } }
  end
  return { kept[1], kept[2], claiming.again(kept[3]), {} }
end

return once.run(main, again)
