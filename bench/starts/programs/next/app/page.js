import { createElement } from 'react';

export const dynamic = 'force-dynamic';

// oxlint-disable-next-line import/no-default-export -- it is how Next.js finds it
export default function Page() {
  return createElement('main', null, `Hello at ${new Date().toISOString()}`);
}
