-- Where a job of a queue stands: waiting, prioritized or delayed, and where in there.
--
-- use    numbers wake
-- wire   W-10 W-11 W-12
local place = {}

local CLASS = 4294967296
local DUE = 4096

-- Put an id at the end of those that wait (they are taken from the right), or in front.
function place.wait(q, id, front)
  call(front and "RPUSH" or "LPUSH", q.wait, id)
  wake.soon(q)
end

-- Put an id at the end of its class of priority, or in front of it.
function place.prioritize(q, id, priority, front)
  local turn = front and 0 or attempt("INCR", q.pc)
  if type(turn) == "table" then
    -- It only keeps the order within a class: one that cannot be used begins again.
    call("DEL", q.pc)
    turn = call("INCR", q.pc)
  end
  turn = turn % CLASS
  call("ZADD", q.prioritized, priority * CLASS + turn, id)
  wake.soon(q)
end

-- Make a job ready to be claimed; give the name of its state.
function place.ready(q, id, priority, front)
  priority = numbers.finite(priority) or 0
  if priority == 0 then
    place.wait(q, id, front)
    return "waiting"
  end
  place.prioritize(q, id, priority, front)
  return "prioritized"
end

-- Put an id among the delayed ones, behind those that are due in the same millisecond.
function place.delay(q, id, due)
  local low = (numbers.finite(due) or numbers.MOST) * DUE
  local last = call("ZREVRANGEBYSCORE", q.delayed, low + DUE - 1, low, "WITHSCORES", "LIMIT", 0, 1)
  local score = low
  if last[2] then
    score = math.min(tonumber(last[2]) + 1, low + DUE - 1)
  end
  call("ZADD", q.delayed, score, id)
  wake.later(q)
end

-- Give the score up to which delayed jobs are due at a time.
function place.due_by(now)
  return (now + 1) * DUE - 1
end

return place
