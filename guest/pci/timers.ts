/** Time, as drivers that wait use it: tests bring their own. */
export interface Timers {
  /** Runs `action` once, after so many milliseconds; answers what keeps it from running. */
  after(ms: number, action: () => void): () => void;
}

export const systemTimers: Timers = {
  after: (ms, action) => {
    const timer = setTimeout(action, ms);
    return () => clearTimeout(timer);
  },
};
