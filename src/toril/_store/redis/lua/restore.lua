-- Take jobs and schedules from another store, as they stood there, and note what came last.
--
-- keys   queue...
-- args   caller number now prefix origin shipment receipt last_id
-- each   job: queue id name created state at priority
-- each   field: job name text
-- each   line: job text
-- each   child: job key outcome value
-- each   hold: job key expires name data opts jid pk pd rjk
-- each   schedule: id next count offset
-- each   rule: schedule name text
-- use    arrival clock event once opening schedule wake
-- emits  added waiting delayed waiting-children duplicated
-- wire   W-05 W-90 W-140 W-141
-- reply  same · other and what came last · taken and a key · done
local q = queue[1]

-- Write a schedule and arm its run, unless its id is here; another store may count its runs.
local function plan(row, rules, now)
  local hash = { ic = row.count, offset = row.offset }
  if schedule.read(q, row.id) then
    return
  end
  for i = 1, #rules do
    hash[rules[i].name] = rules[i].text
  end
  hash["toril:over"] = row.next == "" and "1" or nil
  local key, flat = schedule.key(q, row.id), {}
  for name, text in pairs(hash) do
    table.insert(flat, name)
    table.insert(flat, text)
  end
  call("DEL", key)
  call("HSET", key, unpack(flat))
  if row.next ~= "" then
    schedule.arm(q, row.id, hash, tonumber(row.next), now)
  else
    call("ZADD", q.schedules, now, row.id)
  end
end

local function plan_all(now)
  local rules = {}
  for i = 1, #each.rule do
    local number = tonumber(each.rule[i].schedule)
    rules[number] = rules[number] or {}
    table.insert(rules[number], each.rule[i])
  end
  for i = 1, #each.schedule do
    plan(each.schedule[i], rules[i] or {}, now)
  end
end

local function arrive(now)
  for i = 1, #queue do
    opening.open(queue[i])
  end
  if tonumber(call("GET", q.id) or 0) < tonumber(arg.last_id) then
    call("SET", q.id, arg.last_id)
  end
  arrival.write()
  arrival.link(now)
  arrival.hold(now)
  arrival.place()
  plan_all(now)
end

local function main()
  local now, notes = clock.now(arg.now), q.base .. "toril:moved"
  local last = call("HGET", notes, arg.origin) or "0 "
  local number = tonumber(last:match("^%d+"))
  if last == arg.shipment .. " " .. arg.receipt then
    return { "same" }
  elseif number + 1 ~= tonumber(arg.shipment) then
    return { "other", number }
  end
  local taken = arrival.conflict()
  if taken then
    return { "taken", taken.queue.base .. taken.id }
  end
  arrive(now)
  call("HSET", notes, arg.origin, arg.shipment .. " " .. arg.receipt)
  wake.all()
  event.close()
  return { "done" }
end

return once.run(main)
