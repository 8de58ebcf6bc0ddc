-- Let jobs go that another store has by now: no parent is released, and nothing is announced.
--
-- keys   queue
-- args   caller number now prefix before
-- each   job: id
-- use    alone clock dedup job once where
-- wire   W-142
-- reply  ids that went, ids that are active
local function main()
  local q, gone, active = queue[1], {}, {}
  clock.now(arg.now)
  where.check(q)
  for i = 1, #each.job do
    local id = each.job[i].id
    local fields = job.read(q.base .. id, "timestamp", "deid")
    local is_there, added = job.exists(q.base .. id), tonumber(fields[1]) or 0
    if is_there and (call("EXISTS", q.base .. id .. ":lock") == 1 or call("LPOS", q.active, id)) then
      active[#active + 1] = id
    elseif is_there and (arg.before == "" or added <= tonumber(arg.before)) then
      where.anywhere(q, id)
      if fields[2] then
        alone.beside(dedup.drop, q, fields[2], id)
      end
      job.forget(q, { id })
      gone[#gone + 1] = id
    end
  end
  return { gone, active }
end

return once.run(main)
