/** How many requests the API has answered, and how: for metrics. */

/** Answers of one kind. */
export interface AnsweredRequests {
  /** As in Lambda's model; `InvokeFunctionUrl` for function URLs, `unknown` for what calls none. */
  readonly operation: string;
  readonly status: number;
  readonly count: number;
}

/** What the API has done since it began. */
export interface ApiRequests {
  /** Being answered. */
  readonly inFlight: number;
  /** Requests whose client hung up count by the status that they would have had. */
  readonly answered: readonly AnsweredRequests[];
}

export class RequestCounts {
  #inFlight = 0;
  /** By operation and status, neither of which clients can make up. */
  readonly #answered = new Map<string, AnsweredRequests>();

  begin(): void {
    this.#inFlight += 1;
  }

  end(operation: string, status: number): void {
    this.#inFlight -= 1;
    const key = `${operation} ${status}`;
    const count = (this.#answered.get(key)?.count ?? 0) + 1;
    this.#answered.set(key, { operation, status, count });
  }

  snapshot(): ApiRequests {
    return { inFlight: this.#inFlight, answered: [...this.#answered.values()] };
  }
}
