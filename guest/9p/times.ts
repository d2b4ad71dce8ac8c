import type { FileTime } from './messages.js';

/** A time as Node takes it: seconds since 1970, or a Date. */
export type Time = number | Date;

export function toFileTime(time: Time): FileTime {
  // Microseconds are what a double has left of today's times.
  const microseconds = Math.round((typeof time === 'number' ? time : time.getTime() / 1000) * 1e6);
  const seconds = Math.floor(microseconds / 1e6);
  return { seconds, nanoseconds: (microseconds - seconds * 1e6) * 1000 };
}
