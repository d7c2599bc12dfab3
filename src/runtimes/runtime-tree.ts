/** What a runtime's image is made of: files with their place in it, in layers. */

/** Something in an image. Paths are relative to its root; directories above are made where they are missing. */
export type RuntimeEntry = { readonly path: string } & (
  | { readonly kind: 'directory'; readonly mode?: number }
  | { readonly kind: 'text'; readonly text: string; readonly mode?: number }
  /** A file of this machine, wherever its links lead. */
  | { readonly kind: 'copy'; readonly source: string; readonly mode?: number }
  | { readonly kind: 'link'; readonly target: string }
);

/** An image before it is written. */
export interface RuntimeTree {
  /** Lowest first. Equal layers of two images are stored once. */
  readonly layers: readonly (readonly RuntimeEntry[])[];
  readonly entrypoint: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}
