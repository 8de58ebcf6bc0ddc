// A schedule's rule in plain words. Only what is certain is put into words; other patterns are shown as they are.
import { lang, t } from "../i18n";
import { duration } from "./format";
import { line } from "./text";

interface Ruled { every_ms: number | null; pattern: string | null; zone: string | null; rule: string }

const two = (value: string): string => value.padStart(2, "0");
const plain = (value: string, top: number): boolean => /^\d{1,2}$/.test(value) && Number(value) <= top;
const NAMES = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

function weekday(value: string): string | null {
  const at = /^[0-7]$/.test(value) ? Number(value) % 7 : NAMES.indexOf(value.toLowerCase());
  // 4 January 1970 was a Sunday.
  return at < 0 ? null : new Intl.DateTimeFormat(lang, { weekday: "long", timeZone: "UTC" }).format((3 + at) * 86_400_000);
}

export function cronText(pattern: string): string | null {
  if (pattern.length > 100) return null;
  const fields = pattern.trim().split(/\s+/);
  if (fields.length === 6 && fields[0] === "0") fields.shift();
  if (fields.length !== 5) return null;
  const [minute, hour, day, month, week] = fields as [string, string, string, string, string];
  const every = /^\*\/(\d{1,2})$/;
  const daily = day === "*" && month === "*" && week === "*";
  if (daily && hour === "*") {
    if (minute === "*") return t.rule.every(duration(60_000));
    const step = every.exec(minute);
    if (step && 60 % Number(step[1]) === 0) return t.rule.everyMinutes(Number(step[1]));
    if (plain(minute, 59)) return t.rule.hourly(two(minute));
    return null;
  }
  if (!plain(minute, 59)) return null;
  const step = every.exec(hour);
  if (daily && step && 24 % Number(step[1]) === 0) return t.rule.everyHours(Number(step[1]), two(minute));
  if (!plain(hour, 23)) return null;
  const at = `${two(hour)}:${two(minute)}`;
  if (daily) return t.rule.daily(at);
  if (day === "*" && month === "*") {
    if (/^(1-5|mon-fri)$/i.test(week)) return t.rule.weekdays(at);
    const name = weekday(week);
    return name && t.rule.weekly(name, at);
  }
  if (month === "*" && week === "*" && plain(day, 31) && day !== "0") return t.rule.monthly(Number(day), at);
  return null;
}

/** The next of these times that is still to come; the list may be some seconds old. */
export const nextOf = (times: number[], now: number): number | null => times.find((at) => at >= now) ?? times.at(-1) ?? null;

export function ruleText({ every_ms, pattern, zone, rule }: Ruled): string {
  if (every_ms) return t.rule.every(duration(every_ms));
  const words = pattern && cronText(pattern);
  return [words ?? line(pattern ?? rule, 60), zone && line(zone, 40)].filter(Boolean).join(", ");
}
