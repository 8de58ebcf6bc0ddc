// The texts of the chosen language, loaded alone. A change of the language loads the page again.
import { language } from "../lib/settings";
import type { Texts } from "./en";

export const LANGUAGES = { en: "English", vi: "Tiếng Việt" } as const;
const wanted = language.value || navigator.language.slice(0, 2);
export const lang: keyof typeof LANGUAGES = wanted === "vi" ? "vi" : "en";
export const t: Texts = lang === "vi" ? (await import("./vi")).vi : (await import("./en")).en;
document.documentElement.lang = lang;
