/** Text of anybody's, a guest's too, as it may stand in a log: within a line, of bounded length, and with nothing that a terminal obeys. */

/** Control characters, what has no width or turns the direction of text, other line ends, and halves of characters. */
const UNPRINTABLE = /[\p{C}\p{Zl}\p{Zp}]/gu;
const SHORT: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };

/** At most `maxCharacters` of it, and how many there were beyond. Escapes are those of JSON. */
export function plainText(text: string, maxCharacters: number): string {
  if (text.length <= maxCharacters) return text.replace(UNPRINTABLE, escaped);
  const kept = text.slice(0, maxCharacters).replace(UNPRINTABLE, escaped);
  return `${kept}… (${text.length - maxCharacters} more characters)`;
}

function escaped(character: string): string {
  return SHORT[character] ?? inHexadecimal(character);
}

function inHexadecimal(character: string): string {
  return Array.from({ length: character.length }, (_, i) => {
    const unit = character.charCodeAt(i).toString(16);
    return `\\u${unit.padStart(4, '0')}`;
  }).join('');
}
