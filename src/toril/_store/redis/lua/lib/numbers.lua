-- Numbers in stored fields, which may hold any text.
local numbers = {}

-- Beyond this not every whole number can be stored.
numbers.MOST = 9007199254740992

-- Return a finite number of a safe size, or nil if the text is none.
function numbers.finite(text)
  local number = tonumber(text)
  -- NaN fails both comparisons.
  if number and number > -numbers.MOST and number < numbers.MOST then
    return number
  end
end

-- Return a whole number of 0 or more, or nil if the text is none.
function numbers.count(text)
  local number = numbers.finite(text)
  return number and number >= 0 and math.floor(number) or nil
end

return numbers
