import { fileURLToPath } from 'node:url';

/** Executables as they are shipped: `npm test` builds them before. */
export const BUILT_MAIN = fileURLToPath(new URL('../../dist/manager/main.js', import.meta.url));
export const BUILT_DEVICE_ENTRY = fileURLToPath(
  new URL('../../dist/manager/device-process/entry.js', import.meta.url),
);
export const BUILT_SWITCH_ENTRY = fileURLToPath(
  new URL('../../dist/manager/switch-process/entry.js', import.meta.url),
);
/** What makes mounts for a daemon that is not root. */
export const BUILT_MOUNT_MAKER = fileURLToPath(
  new URL('../../dist/manager/sandbox/mount-maker.js', import.meta.url),
);
/** Whereby a test's own process says who it is. */
export const BUILT_STAMPS = fileURLToPath(new URL('../../dist/manager/process-stamp.js', import.meta.url));
/** The scripts of the page. */
export const BUILT_PAGE = new URL('../../dist/manager/web/page/', import.meta.url);
