// Data. Every file of data is a script that calls `sandData` with its own name.
const arrived = new Map();
const asked = new Map();

window.sandData = (name, value) => arrived.set(name, value);

function load(name) {
  if (!asked.has(name)) {
    asked.set(name, new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = `data/${name}.js`;
      script.onload = () => {
        script.remove();
        if (arrived.has(name)) resolve(arrived.get(name));
        else reject(new Error(`data/${name}.js holds no data`));
      };
      script.onerror = () => {
        asked.delete(name);
        reject(new Error(`data/${name}.js cannot be loaded. If the report was written again, reload the page; `
          + "if it was moved, its folder data has to be beside it."));
      };
      document.head.append(script);
    }));
  }
  return asked.get(name);
}

// An element. Texts become text nodes: nothing that a model wrote is read as markup.
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "class") made.className = value;
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

const number = (value) => value.toLocaleString("en");
const reward = (value) => value.toFixed(2).replace(/\.?0+$/, "") || "0";
const plural = (count, what) => `${number(count)} ${what}${count === 1 ? "" : "s"}`;
