/**
 * Lets some in at a time, and of one tenant no more than a part of them: who asks for much waits for himself, not the
 * others for him.
 */

export interface FairPlacesOptions {
  readonly placesMax: number;
  /** At most `placesMax`. */
  readonly placesPerTenantMax: number;
}

interface Waiting {
  readonly tenant: string;
  readonly enter: () => void;
}

export class FairPlaces {
  readonly #options: FairPlacesOptions;
  /** In order of arrival. */
  readonly #waiting: Waiting[] = [];
  /** By tenant: how many are in. */
  readonly #inside = new Map<string, number>();
  #insideCount = 0;

  constructor(options: FairPlacesOptions) {
    this.#options = options;
  }

  /** Runs `work` as soon as there is a place, and gives the place back whatever becomes of it. */
  async run<T>(tenant: string, work: () => Promise<T>): Promise<T> {
    await new Promise<void>((enter) => {
      this.#waiting.push({ tenant, enter });
      this.#letIn();
    });
    try {
      return await work();
    } finally {
      this.#count(tenant, -1);
      this.#letIn();
    }
  }

  #letIn(): void {
    const { placesMax, placesPerTenantMax } = this.#options;
    while (this.#insideCount < placesMax) {
      const at = this.#waiting.findIndex(
        ({ tenant }) => (this.#inside.get(tenant) ?? 0) < placesPerTenantMax,
      );
      const [next] = at < 0 ? [] : this.#waiting.splice(at, 1);
      if (next === undefined) return;
      this.#count(next.tenant, 1);
      next.enter();
    }
  }

  #count(tenant: string, change: 1 | -1): void {
    const inside = (this.#inside.get(tenant) ?? 0) + change;
    if (inside === 0) this.#inside.delete(tenant);
    else this.#inside.set(tenant, inside);
    this.#insideCount += change;
  }
}
