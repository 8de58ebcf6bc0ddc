// Which page is at which path. A page's code is loaded when the page is first shown.
import type { ComponentType } from "preact";

export const pages: Record<string, () => Promise<ComponentType>> = {
  "": async () => (await import("./overview")).OverviewPage,
  queues: async () => (await import("./queues")).QueuesPage,
  queue: async () => (await import("./queue")).QueuePage,
  jobs: async () => (await import("./jobs")).JobsPage,
  job: async () => (await import("./job")).JobPage,
  add: async () => (await import("./add")).AddPage,
  errors: async () => (await import("./errors")).ErrorsPage,
  error: async () => (await import("./errors")).ErrorPage,
  flows: async () => (await import("./flows")).FlowsPage,
  flow: async () => (await import("./flows")).FlowPage,
  schedules: async () => (await import("./schedules")).SchedulesPage,
  workers: async () => (await import("./workers")).WorkersPage,
  tasks: async () => (await import("./tasks")).TasksPage,
  task: async () => (await import("./tasks")).TaskPage,
  operations: async () => (await import("./records")).OperationsPage,
  audit: async () => (await import("./records")).AuditPage,
  settings: async () => (await import("./settings")).SettingsPage,
};
