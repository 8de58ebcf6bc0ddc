-- Read jobs whole, with where they stand.
--
-- keys   queue...
-- each   job: queue id
-- use    where
-- wire   W-12 W-13 W-20 W-26
-- reply  for each job: nothing, or the place of its id, its score if it is delayed, its fields
local answers = {}
for i = 1, #each.job do
  local q, id = each.job[i].queue, each.job[i].id
  local fields = attempt("HGETALL", q.base .. id)
  local role = #fields > 0 and where.role(q, id)
  answers[i] = role and { role, call("ZSCORE", q.delayed, id), fields } or false
end
return answers
