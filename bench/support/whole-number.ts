/** The value of an option that is a number. @throws Error where it is not a whole one from 1 */
export function positive(option: string, text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1)
    throw new Error(`${option} ${text}: it is a whole number from 1`);
  return value;
}
