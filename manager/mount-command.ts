/** The command that mounts a tag in a Linux guest. */

/** Linux's largest on virtio; without the option it asks for far less and is slow. */
const MSIZE_BYTES = 512_000;

export function mountCommand(tag: string, readOnly: boolean): string {
  const options = `trans=virtio,version=9p2000.L,msize=${MSIZE_BYTES}${readOnly ? ',ro' : ''}`;
  // A tag that begins with a dash would be taken for an option.
  const end = tag.startsWith('-') ? '-- ' : '';
  return `mount -t 9p -o ${options} ${end}${shellQuote(tag)} ${shellQuote(mountPoint(tag))}`;
}

/** A name of its own below /mnt, also for tags like `..` and `a/b`. */
function mountPoint(tag: string): string {
  return `/mnt/${tag.replaceAll('/', '-').replace(/^\./, '_')}`;
}

/** A word of a POSIX shell. */
export function shellQuote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
