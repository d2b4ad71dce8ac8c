/** The reviews of one device process, of overlays that it serves and of ones that nobody does. */
import type { OverlayFs } from '../../devices/9p/fs/overlay/overlay-fs.js';
import { ChassisError, type Owner, type ReviewPage, type Source, type Upper } from '../control/api.js';
import type { ReviewSpec } from './protocol.js';
import { Review } from './review.js';
import type { ServedMount } from './served-mount.js';

export type OpenOverlay = (source: Source, upper: Upper, owner: Owner | undefined) => Promise<OverlayFs>;

/** At a time: each holds a page, and some directories. */
const REVIEWS_MAX = 64;

export class Reviews {
  readonly #openOverlay: OpenOverlay;
  readonly #reviews = new Map<number, Review>();
  #last = 0;

  constructor(openOverlay: OpenOverlay) {
    this.#openOverlay = openOverlay;
  }

  /**
   * Answers its number. `mount` is what shows the overlay, where something does.
   * @throws ChassisError BAD_REQUEST, SOURCE_IN_USE, or as the overlay cannot be opened
   */
  async start(spec: ReviewSpec, mount: ServedMount | undefined): Promise<number> {
    if (this.#reviews.size >= REVIEWS_MAX)
      throw new ChassisError(
        'CHASSIS_IN_USE',
        `${REVIEWS_MAX} reviews are under way`,
        'wait for one of them',
      );
    const review = mount ? mount.review(spec) : await this.#reviewUnserved(spec);
    const number = ++this.#last;
    this.#reviews.set(number, review);
    // The last page may still be asked for, for a while.
    void review.ended.then(() => setTimeout(() => this.#reviews.delete(number), FORGOTTEN_MS).unref());
    return number;
  }

  /** @throws ChassisError what it stopped with */
  async next(number: number): Promise<ReviewPage> {
    const review = this.#reviews.get(number);
    if (!review)
      throw new ChassisError('INTERNAL', 'nobody asked for this review for too long', 'start it again');
    try {
      const page = await review.next();
      if (page.done) this.#reviews.delete(number);
      return page;
    } catch (error) {
      this.#reviews.delete(number);
      throw error;
    }
  }

  async stop(number: number): Promise<void> {
    const review = this.#reviews.get(number);
    this.#reviews.delete(number);
    await review?.stop();
  }

  /** A review reads and writes files for as long as it likes. @throws ChassisError UPGRADE_REFUSED while there is one */
  refuseUnderWay(): void {
    if (this.#reviews.size === 0) return;
    throw new ChassisError(
      'UPGRADE_REFUSED',
      'changes of an overlay are being listed or committed',
      'wait for that to end, or end it',
    );
  }

  /** Stops all of them. */
  async close(): Promise<void> {
    await Promise.all([...this.#reviews.keys()].map((number) => this.stop(number)));
  }

  async #reviewUnserved({ overlay: given, ...request }: ReviewSpec): Promise<Review> {
    if (!given) throw new Error('a review is of a mount or of an overlay');
    const overlay = await this.#openOverlay(given.source, given.upper, given.owner);
    const review = new Review(overlay, request);
    void review.ended.then(() => overlay.close());
    return review;
  }
}

const FORGOTTEN_MS = 30_000;
