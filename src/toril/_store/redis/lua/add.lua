-- Store groups of jobs, each as a whole or not at all.
--
-- Parents in `hold` are not released, whatever becomes of their children, until they are in `free`:
-- a flow that is too large for one call comes in several.
-- `rest` says how many jobs of its one group come later, for the queues that must have room for them.
-- A step is a run of `count` jobs of one queue from `plain`, or one group of `count` from `job`.
--
-- keys   queue...
-- args   caller number now prefix
-- each   step: kind queue count
-- each   plain: name data opts delay
-- each   job: queue id name data opts timestamp delay at priority front waits parent link rjk deid mode ttl index
-- each   rest: queue count
-- each   hold: parent own
-- each   free: parent
-- short  short_add
-- use    adding alone clock event holding once opening plain room tally wake
-- emits  added waiting delayed waiting-children duplicated deduplicated removed
-- wire   W-20 W-27 W-74 W-75 W-135 W-150
-- reply  the queues that nobody had used before, and for each step: the first number of a run; ids
--        and words by turns for a group; or, in a list, why not in a word and the key in the way
local function run(step, first, now)
  local q, at_once = step.queue, 0
  local fault = opening.plain_fault(q)
  if fault then
    return { { "misfit", fault } }
  end
  for i = first, first + step.count - 1 do
    at_once = at_once + (each.plain[i].delay == "0" and 1 or 0)
  end
  local full = opening.most(q) and room.full(q, at_once)
  if full then
    return { full }
  end
  opening.open(q)
  local number, ready, late = plain.store(q.base, each.plain, first, step.count, now)
  for i = first, first + step.count - 1 do
    tally.add(q, each.plain[i].name, "e")
  end
  q.told, q.woken, q.rearmed = true, q.woken or ready > 0, q.rearmed or late > 0
  return number
end

-- Give the answer of a step; a fault is a refusal, which names no key.
local function answer(given)
  return type(given) == "string" and { { given, "" } } or given
end

local function main()
  local now = clock.now(arg.now)
  local answers, plain, jobs = {}, 1, 1
  holding.start()
  for i = 1, #each.step do
    local step = each.step[i]
    step.count = tonumber(step.count)
    if step.kind == "plain" then
      answers[i] = answer(alone.run(run, step, plain, now))
      plain = plain + step.count
    else
      answers[i] = answer(alone.run(adding.group, each.job, jobs, jobs + step.count - 1, now))
      jobs = jobs + step.count
    end
  end
  holding.stop(answers, now)
  local opened = {}
  for i = 1, #queue do
    if queue[i].opened then
      opened[#opened + 1] = i
    end
  end
  wake.all()
  event.close()
  return { opened, answers }
end

return once.run(main)
