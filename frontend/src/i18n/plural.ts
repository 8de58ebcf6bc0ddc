// The form of a word for a number, by the rules of the language.
export function plurals(lang: string): (count: number, forms: { one?: string; other: string }) => string {
  const rules = new Intl.PluralRules(lang);
  const numbers = new Intl.NumberFormat(lang);
  return (count, forms) => (rules.select(count) === "one" && forms.one ? forms.one : forms.other).replace("#", numbers.format(count));
}
