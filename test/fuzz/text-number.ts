/** A number that stands for a text in what a fuzzer has seen: the same one for the same text, from 1,000 on or anything below 2^31. */
export function textNumber(text: string): number {
  let value = 1000;
  for (const character of text) value = (value * 31 + character.charCodeAt(0)) % 2 ** 31;
  return value;
}
