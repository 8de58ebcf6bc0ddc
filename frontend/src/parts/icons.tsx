// Line icons of 16 px, ours; each is one path.
const PATHS = {
  overview: "M2 9h4l2-5 2 8 1-3h3",
  queues: "M2 4h12M2 8h12M2 12h8",
  jobs: "M3 3h10v10H3zM6 8l1.5 1.5L10.5 6.5",
  errors: "M8 2.5 14 13H2zM8 6.5v3M8 11.2v.3",
  flows: "M3 8h3M10 4H8a2 2 0 0 0-2 2v4a2 2 0 0 0 2 2h2M10 2.5h3v3h-3zM10 10.5h3v3h-3z",
  schedules: "M8 2.5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11zM8 5v3.2l2.2 1.3",
  workers: "M2.5 3h11v4h-11zM2.5 9h11v4h-11zM5 5h.1M5 11h.1",
  tasks: "M6 3 3 8l3 5M10 3l3 5-3 5",
  operations: "M3 5h7M12 5h1M3 11h2M7 11h6M10 3.5v3M5 9.5v3",
  audit: "M4 2.5h8v11H4zM6 5.5h4M6 8h4M6 10.5h2",
  settings: "M8 6a2 2 0 1 0 0 4 2 2 0 0 0 0-4zM8 2v2M8 12v2M2 8h2M12 8h2M3.8 3.8l1.4 1.4M10.8 10.8l1.4 1.4M12.2 3.8l-1.4 1.4M5.2 10.8l-1.4 1.4",
  close: "M4 4l8 8M12 4l-8 8",
  copy: "M5 5h8v8H5zM3 11V3h8",
  menu: "M2 4h12M2 8h12M2 12h12",
  theme: "M8 2.5a5.5 5.5 0 1 0 0 11zM8 2.5a5.5 5.5 0 0 1 0 11z",
  search: "M7 3a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM10 10l3.5 3.5",
  pause: "M5.5 3.5v9M10.5 3.5v9",
  plus: "M8 3v10M3 8h10",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" width="16" height="16" viewBox="0 0 16 16" fill="none" stroke="currentColor" stroke-width="1.4" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}

export function Logo() {
  return (
    <svg width="20" height="20" viewBox="0 0 20 20" fill="none" stroke="var(--brand)" stroke-width="2" stroke-linecap="round" aria-hidden="true">
      <path d="M2 3c0 5 4 7 8 7s8-2 8-7M10 10v7M7 17h6" />
    </svg>
  );
}
