import { createElement } from 'react';

// oxlint-disable-next-line import/no-default-export -- it is how Next.js finds it
export default function Layout({ children }) {
  return createElement('html', null, createElement('body', null, children));
}
