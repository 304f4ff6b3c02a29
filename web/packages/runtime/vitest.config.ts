import { defineConfig } from "vitest/config";

// Not vite.config.ts: in Node, SQLite's own package is used, as an app in Node does.
export default defineConfig({ test: { include: ["tests/**/*.test.ts"] } });
