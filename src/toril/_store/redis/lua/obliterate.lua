-- Take a paused queue away, a bounded number of jobs a call, and with the last ones all its keys.
--
-- keys   queue
-- args   caller number now prefix limit force
-- use    clock event faults once removal schedule wake where
-- emits  waiting delayed
-- wire   W-116
-- reply  running · active, and how many · more · gone
local ROLES = { "active", "delayed", "wait", "paused", "prioritized", "waiting_children",
  "completed", "failed" }
local KEYS_OF_QUEUE = { "events", "delay", "priority", "stalled_check", "stalled", "id", "pc",
  "marker", "meta", "limiter", "metrics:completed", "metrics:completed:data", "metrics:failed",
  "metrics:failed:data", "settings", "wishes", "limits", "toril:samples", "toril:series", "toril:index" }

-- Take jobs away, up to so many; give how many more may go.
local function take(q, role, left, now)
  local ids = left > 0 and where.page(q, role, nil, 0, left) or {}
  for i = 1, #ids do
    where.out(q, role, ids[i], 0)
    call("DEL", q.base .. ids[i] .. ":lock")
    removal.drop(q, ids[i], now)
  end
  return left - #ids
end

-- Take schedules away, up to so many.
local function take_schedules(q, left)
  local ids = left > 0 and call("ZRANGE", q.schedules, 0, left - 1) or {}
  for i = 1, #ids do
    call("ZREM", q.schedules, ids[i])
    call("DEL", schedule.key(q, ids[i]))
  end
end

local function is_bare(q)
  local held = { q.schedules }
  for i = 1, #ROLES do
    held[#held + 1] = q[ROLES[i]]
  end
  return call("EXISTS", unpack(held)) == 0
end

-- Take the keys of the queue itself away, and let this call write nothing to it any more.
local function forget(q)
  for i = 1, #KEYS_OF_QUEUE do
    call("DEL", q[KEYS_OF_QUEUE[i]] or q.base .. KEYS_OF_QUEUE[i])
  end
  faults.forget(q.base)
  q.told, q.woken, q.rearmed = false, false, false
end

local function main()
  local q, now, left = queue[1], clock.now(arg.now), tonumber(arg.limit)
  local active = call("LLEN", q.active)
  if call("EXISTS", q.meta) == 0 and is_bare(q) then
    return { "gone" }
  elseif call("HEXISTS", q.meta, "paused") == 0 then
    return { "running" }
  elseif active > 0 and arg.force ~= "1" then
    return { "active", active }
  end
  for i = 1, #ROLES do
    left = take(q, ROLES[i], left, now)
  end
  take_schedules(q, left)
  local bare = is_bare(q)
  if bare then
    forget(q)
  end
  wake.all()
  event.close()
  return { bare and "gone" or "more" }
end

return once.run(main)
