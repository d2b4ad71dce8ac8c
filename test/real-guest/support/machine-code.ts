/**
 * Programs for the processor as it is before there is an operating system: listings, so that no assembler is needed to run them. Each line is
 * bytes in hexadecimal, a semicolon, and what they say; `label:` lines have no bytes.
 */

/** The bytes of a listing. @throws SyntaxError for a line that is none of one */
export function machineCode(listing: string): Uint8Array {
  const lines = listing.trim().split('\n');
  return Uint8Array.from(lines.flatMap(bytesOf));
}

function bytesOf(line: string): number[] {
  const match = /^\s*((?:[0-9a-f]{2} )*)\s*(?:;|\w+:)/.exec(line);
  if (match === null) throw new SyntaxError(`not a line of a listing: ${line}`);
  return match[1]
    .split(' ')
    .filter((byte) => byte !== '')
    .map((byte) => parseInt(byte, 16));
}
