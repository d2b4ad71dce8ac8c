/** A map that says of which keys it was told something. */
export class NotingMap<Key, Value> extends Map<Key, Value> {
  readonly #note: (key: Key) => void;

  constructor(note: (key: Key) => void) {
    super();
    this.#note = note;
  }

  override set(key: Key, value: Value): this {
    this.#note(key);
    return super.set(key, value);
  }

  override delete(key: Key): boolean {
    this.#note(key);
    return super.delete(key);
  }

  override clear(): void {
    for (const key of this.keys()) this.#note(key);
    super.clear();
  }
}
