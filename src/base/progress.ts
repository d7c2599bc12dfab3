/** How long work tells what it is doing. The rooms report; only the CLI draws. */

export interface ProgressUpdate {
  /** What is being done, for people: `Fetch layer 3f2a…`. Updates with the same label move one bar. */
  readonly label: string;
  readonly unit: 'bytes' | 'chunks' | 'files';
  readonly done: number;
  /** Undefined while the total is unknown. */
  readonly total?: number;
}

/** Must be cheap and must not throw: it is called from inner loops. */
export type ProgressReporter = (update: ProgressUpdate) => void;

/** For callers that show nothing. */
export const silentProgress: ProgressReporter = () => {};
