/** For `expect.poll`, whose own second is short for starting processes on a busy machine. */
export const PATIENTLY = { timeout: 20_000 };
