// Numbers, money and times as people read them, in their own language and time zone.

import { language } from "./text.js";

const locale = language === "zh" ? "zh-CN" : "en-US";
const whole = new Intl.NumberFormat(locale, { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat(locale, { notation: "compact", maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat(locale, { dateStyle: "short", timeStyle: "medium", hour12: false });
const near = new Intl.DateTimeFormat(locale, { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
const daily = new Intl.DateTimeFormat(locale, { dateStyle: "medium" });
const share = new Intl.NumberFormat(locale, { style: "percent", maximumFractionDigits: 1 });

export const count = (number) => whole.format(number);
export const compact = (number) => (Math.abs(number) < 100_000 ? whole.format(number) : short.format(number));
// What is rounded to nothing has no sign.
const signed = (number, text) => `${number < 0 && /[1-9]/.test(text) ? "−" : ""}${text}`;
export const percent = (part, of) => (of ? signed(part / of, share.format(Math.abs(part / of))) : "–");

// At least cents; of less than a dollar as many digits as it takes to see two of them, to the nano-dollar.
export function money(dollars) {
  if (dollars === null || dollars === undefined) return "–";
  const size = Math.abs(dollars);
  let digits = 2;
  if (size > 0 && size < 1) digits = Math.min(9, Math.max(2, 1 - Math.floor(Math.log10(size))) + (size < 0.1 ? 1 : 0));
  const text = size.toLocaleString(locale, { minimumFractionDigits: 2, maximumFractionDigits: digits });
  return signed(dollars, `$${text}`);
}

export function seconds(ms) {
  if (!ms) return "–";
  if (ms < 1000) return `${ms} ms`;
  return ms < 60_000 ? `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s` : `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1000)} s`;
}

// Nothing for what is no time: that of the gateway is always one.
function dated(format, time) {
  const date = new Date(time);
  return Number.isNaN(date.getTime()) ? "–" : format.format(date);
}
// The year stands where it is not this one.
export const time = (text) => dated(new Date(text).getFullYear() === new Date().getFullYear() ? near : clock, text);
export const day = (text) => dated(daily, text);

// A day as the API writes it, some days from now.
export function isoDay(offset = 0) {
  const date = new Date();
  date.setDate(date.getDate() + offset);
  const two = (number) => String(number).padStart(2, "0");
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}
