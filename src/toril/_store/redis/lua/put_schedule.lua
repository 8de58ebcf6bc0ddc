-- Store or replace a schedule, and arm its next run; one that is the same keeps the run it has.
--
-- keys   queue
-- args   caller number now id next offset
-- each   field: name text
-- use    clock event once opening schedule wake where
-- emits  added waiting delayed removed duplicated
-- wire   W-90 W-91 W-94
-- reply  the time of the run, and the fields of the schedule
local WANTED = { "name", "data", "opts", "pattern", "every", "tz", "limit", "startDate", "endDate",
  "toril:offset", "toril:immediately", "toril:cron" }

local function same(one, other)
  for i = 1, #WANTED do
    if one[WANTED[i]] ~= other[WANTED[i]] then
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

local function put(q, hash, now)
  local old, at = schedule.read(q, arg.id), tonumber(arg.next)
  if old and same(old, hash) and schedule.waits(q, arg.id) then
    return
  end
  local count = old and tonumber(old.ic) or 0
  if old and schedule.disarm(q, arg.id) then
    count = count - 1
  end
  hash.ic = string.format("%.0f", at and count + 1 or count)
  hash.offset = arg.offset
  hash["toril:over"] = not at and "1" or nil
  write(q, hash)
  if at then
    schedule.arm(q, arg.id, hash, at, now)
  elseif not call("ZSCORE", q.schedules, arg.id) then
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
  event.trim()
  return schedule.told(q, arg.id)
end

return once.run(main)
