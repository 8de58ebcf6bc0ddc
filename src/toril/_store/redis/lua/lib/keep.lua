-- How long finished jobs stay: the job's own rule, else the queue's, else the default of queues
-- that toril made; other queues keep all.
--
-- use    family job
-- wire   W-104 W-105
local keep = {}

local A_CALL = 250
local DEFAULTS = { completed = "10000:86400000", failed = "10000:2592000000" }

-- Read the queue's rules, once a call.
local function of_queue(q)
  if not q.rules then
    local own = call("HMGET", q.settings, "keep_completed", "keep_failed", "bounded", "dead_letter")
    q.rules = {
      completed = own[1] or own[3] and DEFAULTS.completed or ":",
      failed = own[2] or own[3] and DEFAULTS.failed or ":",
      dead_letter = own[4],
    }
  end
  return q.rules
end

-- Give the rule of a job that ends in `state`: how many stay, and for how many ms; nil: no bound.
function keep.rule(q, state, own)
  local text = own ~= "" and own or of_queue(q)[state]
  local count, age = text:match("^(%d*):(%d*)$")
  return tonumber(count), tonumber(age), text
end

-- Give the queue that final failures of this one go to, or nil.
function keep.letters(q)
  return of_queue(q).dead_letter
end

-- Let these jobs go. A failed one may still hold its parent back.
local function let_go(q, state, ids, now)
  if #ids == 0 then
    return 0
  end
  call("ZREM", q[state], unpack(ids))
  for i = 1, #ids do
    local key = q.base .. ids[i]
    local parent = call("HGET", key, "parentKey")
    if parent and state == "failed" then
      family.part(parent, key, now)
    end
    family.outlive(parent, key)
  end
  job.forget(q, ids)
  return #ids
end

-- Let go what a rule no longer covers, the oldest first, a bounded number; give how many went.
function keep.apply(q, state, count, age, now)
  local gone = 0
  if age then
    local old = call("ZRANGEBYSCORE", q[state], "-inf", now - age, "LIMIT", 0, A_CALL)
    gone = let_go(q, state, old, now)
  end
  local over = count and call("ZCARD", q[state]) - count or 0
  if over > 0 then
    gone = gone + let_go(q, state, call("ZRANGE", q[state], 0, math.min(over, A_CALL) - 1), now)
  end
  return gone
end

return keep
