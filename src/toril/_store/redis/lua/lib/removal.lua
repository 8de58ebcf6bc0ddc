-- Taking jobs away: one silently, or one with all that hang below it.
--
-- use    alone dedup event family job links names schedule where
-- emits  removed
-- wire   W-25 W-111 W-112 W-113
local removal = {}

-- Take away a job that stands nowhere any more, with all that is kept beside it.
local function forget(q, id, key, parent)
  local owner = job.read(key, "deid")[1]
  if owner then
    alone.beside(dedup.drop, q, owner, id)
  end
  alone.beside(family.outlive_ended, parent, key)
  job.forget(q, { id })
end

-- Take a job away silently that stands nowhere any more; its parent may then run.
function removal.drop(q, id, now)
  local key = q.base .. id
  local parent = job.read(key, "parentKey")[1]
  forget(q, id, key, parent)
  alone.beside(family.part, parent, key, now)
end

-- Name the children of a job, however they ended.
local function children_of(key)
  local found = {}
  for _, more in ipairs({
    attempt("HKEYS", key .. ":processed"),
    attempt("HKEYS", key .. ":failed"),
    attempt("ZRANGE", key .. ":unsuccessful", 0, -1),
    attempt("SMEMBERS", key .. ":dependencies"),
  }) do
    -- One of another kind is an error, which has no entries.
    for i = 1, #more do
      found[#found + 1] = more[i]
    end
  end
  return found
end

-- Say why a job must stay, if so. Without its lock a job may still run, until it is taken back.
local function refusal(q, id)
  if call("EXISTS", q.base .. id .. ":lock") == 1 or call("LPOS", q.active, id) then
    return "locked"
  elseif schedule.owns(q, id) then
    return "owned"
  end
end

-- Gather a job and, if so wanted, all below it, parents first; or say why not, and for whom.
local function gather(q, id, deep)
  local tree, seen, at = { { q = q, id = id, key = q.base .. id } }, {}, 1
  while tree[at] do
    local node = tree[at]
    local word = refusal(node.q, node.id)
    if word then
      return nil, word, node
    end
    for _, key in ipairs(deep and children_of(node.key) or {}) do
      -- A later job may have been given the id of a child that is gone.
      if not seen[key] and links.is_job(key) and job.read(key, "parentKey")[1] == node.key then
        local of, name = job.split(key)
        where.check(of)
        tree[#tree + 1] = { q = of, id = name, key = key }
      end
      seen[key] = true
    end
    at = at + 1
  end
  return tree
end

-- Remove a job, with all below it if so wanted, and tell of each; or give why not, and for whom.
-- The number of jobs that went is the fourth. `passed`, with a role, is where it was found.
function removal.remove(q, id, deep, now, role, passed)
  local key = q.base .. id
  if not names.is_id(id) or call("EXISTS", key) == 0 then
    where.anywhere(q, id)
    return "missing", q, id, 0
  end
  local tree, word, who = gather(q, id, deep)
  if not tree then
    return word, who.q, who.id, 0
  end
  local parent = job.read(key, "parentKey")[1]
  for i = #tree, 1, -1 do
    local of, name = tree[i].q, tree[i].id
    local from = i == 1 and passed and where.out(q, role, id, passed) and role
      or where.anywhere(of, name)
    tree[i].prev = from and of[from]:sub(#of.base + 1) or "unknown"
    forget(of, name, tree[i].key, i == 1 and parent)
  end
  alone.beside(family.part, parent, key, now)
  for i = #tree, 1, -1 do
    event.emit(tree[i].q, "removed", "jobId", tree[i].id, "prev", tree[i].prev)
  end
  return nil, q, id, #tree
end

return removal
