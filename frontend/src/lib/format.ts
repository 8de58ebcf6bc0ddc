// Numbers, durations and times as people read them, in the chosen language and zone.
import { lang } from "../i18n";
import { zone } from "./settings";

const whole = new Intl.NumberFormat(lang, { maximumFractionDigits: 0 });
const compact = new Intl.NumberFormat(lang, { notation: "compact", maximumFractionDigits: 1 });
const percents = new Intl.NumberFormat(lang, { style: "percent", maximumFractionDigits: 1 });
const decimals = [0, 1, 2].map((digits) => new Intl.NumberFormat(lang, { maximumFractionDigits: digits }));

export const DASH = "–";

export const number = (value: number | null | undefined): string => (value === null || value === undefined ? DASH : whole.format(value));
export const short = (value: number): string => (value < 100_000 ? whole.format(value) : compact.format(value));
export const percent = (value: number | null | undefined): string => (value === null || value === undefined ? DASH : percents.format(value));

export function rate(perSecond: number | null | undefined): string {
  if (perSecond === null || perSecond === undefined) return DASH;
  if (perSecond === 0) return "0";
  const digits = perSecond < 1 ? 2 : perSecond < 10 ? 1 : 0;
  return perSecond < 0.005 ? `<${decimals[2]!.format(0.01)}` : decimals[digits]!.format(perSecond);
}

/** 0.4 ms · 184 ms · 1.2 s · 2m 14s · 3h 05m · 12d 4h. Negative durations are shown as zero. */
export function duration(ms: number | null | undefined): string {
  if (ms === null || ms === undefined) return DASH;
  const value = Math.max(0, ms);
  if (value < 1) return value === 0 ? "0 s" : `${decimals[1]!.format(value)} ms`;
  if (value < 1_000) return `${whole.format(value)} ms`;
  if (value < 10_000) return `${decimals[1]!.format(value / 1000)} s`;
  const seconds = Math.round(value / 1000);
  if (seconds < 60) return `${seconds} s`;
  const two = (part: number) => String(part).padStart(2, "0");
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m ${two(seconds % 60)}s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 1440) return `${Math.floor(minutes / 60)}h ${two(minutes % 60)}m`;
  const hours = Math.round(minutes / 60);
  return `${Math.floor(hours / 24)}d ${hours % 24}h`;
}

export function bytes(value: number | null | undefined): string {
  if (value === null || value === undefined) return DASH;
  const units = ["B", "KB", "MB", "GB", "TB"];
  let at = 0;
  let left = value;
  while (left >= 1000 && at < units.length - 1) {
    left /= 1024;
    at += 1;
  }
  return `${decimals[at === 0 || left >= 10 ? 0 : 1]!.format(left)} ${units[at]}`;
}

let serverZone = "UTC";
export const setServerZone = (name: string): void => void (serverZone = name);
const formats = new Map<string, Intl.DateTimeFormat>();

function inZone(options: Intl.DateTimeFormatOptions, where?: string): Intl.DateTimeFormat {
  const chosen = where ?? { utc: "UTC", server: serverZone, local: undefined }[zone.value];
  const key = JSON.stringify([options, chosen]);
  let found = formats.get(key);
  if (!found) {
    try {
      found = new Intl.DateTimeFormat(lang, { ...options, hourCycle: "h23", ...(chosen ? { timeZone: chosen } : {}) });
    } catch {
      found = new Intl.DateTimeFormat(lang, { ...options, hourCycle: "h23", timeZone: "UTC" });
    }
    formats.set(key, found);
  }
  return found;
}

const CLOCK: Intl.DateTimeFormatOptions = { hour: "2-digit", minute: "2-digit" };
const MOMENT: Intl.DateTimeFormatOptions = {
  year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", timeZoneName: "short",
};

// Times outside of what a Date can hold are shown as the number.
const drawn = (format: Intl.DateTimeFormat, ms: number): string => (Math.abs(ms) <= 8.64e15 ? format.format(ms) : String(ms));

export const clock = (ms: number, where?: string): string => drawn(inZone(CLOCK, where), ms);
export const seconds = (ms: number): string =>
  drawn(inZone({ hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3 }), ms);
export const day = (ms: number, where?: string): string => drawn(inZone({ month: "short", day: "numeric" }, where), ms);
export const moment = (ms: number | null, where?: string): string => (ms === null ? DASH : drawn(inZone(MOMENT, where), ms));
export const dayClock = (ms: number, where?: string): string => `${day(ms, where)}, ${clock(ms, where)}`;

const relative = new Intl.RelativeTimeFormat(lang, { numeric: "always", style: "narrow" });

/** "12 s ago", "in 3 min". */
export function ago(ms: number | null, now = Date.now()): string {
  if (ms === null) return DASH;
  const away = (ms - now) / 1000;
  const size = Math.abs(away);
  const [unit, length]: [Intl.RelativeTimeFormatUnit, number] =
    size < 60 ? ["second", 1] : size < 3600 ? ["minute", 60] : size < 172_800 ? ["hour", 3600] : ["day", 86_400];
  return relative.format(Math.trunc(away / length), unit);
}

export const RANGES = ["15m", "1h", "6h", "24h", "7d"] as const;
export const rangeMs = (range: string): number =>
  ({ "15m": 900, "1h": 3600, "6h": 21_600, "24h": 86_400, "7d": 604_800 })[range]! * 1000 || 3_600_000;
