-- Store or replace a schedule, and arm its next run; one that is the same keeps the run it has.
--
-- keys   queue
-- args   caller number now id next offset pause
-- each   field: name text
-- use    clock event once opening plan schedule wake where
-- emits  added waiting delayed removed duplicated
-- wire   W-90 W-91 W-94 W-97
-- reply  the time of the run, and the fields of the schedule
-- What says when the runs of a schedule are, but for when they end; and the rest.
local TIMES = { "pattern", "every", "tz", "startDate", "toril:offset", "toril:immediately",
  "toril:cron" }
local REST = { "name", "data", "opts", "limit", "endDate" }

local function same(one, other, fields)
  for i = 1, #fields do
    if one[fields[i]] ~= other[fields[i]] then
      return false
    end
  end
  return true
end

-- Write the schedule anew, with nothing armed.
local function write(q, hash)
  local row, key = {}, schedule.key(q, arg.id)
  for name, text in pairs(hash) do
    row[#row + 1] = name
    row[#row + 1] = text
  end
  call("DEL", key)
  call("HSET", key, unpack(row))
end

-- Replace a schedule that has the same times and a run: it stays in step. Give whether that is all:
-- of a run that has started, whoever goes on from it arms the next one from what stands here.
local function stay(q, old, hash)
  local at = schedule.at(q, arg.id)
  hash.offset = old.offset
  local runs = call("HGET", q.base .. schedule.armed(q, arg.id), "ats")
  if not runs and schedule.waits(q, arg.id) then
    return false, at
  end
  hash["toril:over"] = not plan.allows(hash, at) and "1" or nil
  write(q, hash)
  return true
end

-- Store a schedule that is paused: it has no run, and the one that waits is removed. With another
-- score, a run that has started is no longer the one that either side goes on from.
local function hold(q, old, hash, now)
  hash.ic, hash.offset, hash["toril:over"] = old and old.ic or "0", arg.offset, "1"
  if old and schedule.disarm(q, arg.id) then
    hash.ic = string.format("%.0f", math.max(plan.count(hash) - 1, 0))
  end
  write(q, hash)
  call("ZADD", q.schedules, now, arg.id)
end

local function put(q, hash, now)
  local old, at, done = schedule.read(q, arg.id), tonumber(arg.next), false
  if old and arg.pause == "" then
    hash["toril:pause"], hash["toril:pause_since"] = old["toril:pause"], old["toril:pause_since"]
  end
  if hash["toril:pause"] then
    hash["toril:pause_since"] = hash["toril:pause_since"] or clock.text
    return hold(q, old, hash, now)
  elseif old and old["toril:pause"] then
    -- It resumes: whatever else changes, its next run is armed.
    old.pattern, old.every = nil, nil
  end
  local in_step = old and same(old, hash, TIMES)
  if in_step and same(old, hash, REST) then
    call("HDEL", schedule.key(q, arg.id), "toril:owner")
    if hash["toril:owner"] then
      call("HSET", schedule.key(q, arg.id), "toril:owner", hash["toril:owner"])
    end
    return
  end
  hash.ic, hash.offset = old and old.ic or "0", arg.offset
  if in_step and schedule.armed(q, arg.id) then
    done, at = stay(q, old, hash)
  end
  if done then
    return
  elseif old and schedule.disarm(q, arg.id) then
    hash.ic = string.format("%.0f", math.max(plan.count(hash) - 1, 0))
  end
  at = at and plan.allows(hash, at) and at
  hash.ic = string.format("%.0f", plan.count(hash) + (at and 1 or 0))
  hash["toril:over"] = not at and "1" or nil
  write(q, hash)
  if at then
    schedule.arm(q, arg.id, hash, at, now)
  elseif not schedule.at(q, arg.id) then
    call("ZADD", q.schedules, now, arg.id)
  end
end

local function main()
  local q, now, hash = queue[1], clock.now(arg.now), {}
  where.check(q)
  opening.open(q)
  for i = 1, #each.field do
    hash[each.field[i].name] = each.field[i].text
  end
  put(q, hash, now)
  wake.all()
  event.close()
  return schedule.told(q, arg.id)
end

return once.run(main)
