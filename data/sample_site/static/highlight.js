// Wraps keywords of code blocks in spans once the page is up, as the real sites' highlighter does.
const KEYWORDS = /\b(def|class|return|import|from|as|for|in|if|else|None|True|False|SELECT|FROM|WHERE|GROUP BY|library|function)\b/g;
for (const code of document.querySelectorAll("pre.s-code-block code")) {
  code.className = "hljs";
  code.innerHTML = code.innerHTML.replace(KEYWORDS, '<span class="hljs-keyword">$1</span>');
}
