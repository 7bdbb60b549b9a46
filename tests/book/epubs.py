"""EPUB files, made here: right ones of both versions, and wrong ones."""

import io
import zipfile
from pathlib import Path

CONTAINER = """<?xml version="1.0"?>
<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>
<rootfile full-path="OEBPS/book.opf" media-type="application/oebps-package+xml"/>
</rootfiles></container>"""
PACKAGE = """<?xml version="1.0"?>
<package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="id">
<metadata xmlns:dc="http://purl.org/dc/elements/1.1/">
<dc:title>The River</dc:title><dc:creator>Ann Author</dc:creator><dc:creator>Bo Other</dc:creator>
<dc:language>en-GB</dc:language><dc:date>1890-05-01</dc:date><meta name="cover" content="pic"/>
</metadata><manifest>{items}</manifest><spine{toc}>{spine}</spine></package>"""
NAV = """<html xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops"><body>
<nav epub:type="landmarks"><a href="one.xhtml">Wrong</a></nav>
<nav epub:type="toc"><ol>{entries}</ol></nav></body></html>"""
NCX = """<ncx xmlns="http://www.daisy.org/z3986/2005/ncx/"><navMap>{entries}</navMap></ncx>"""
ONE = """<?xml version="1.0" encoding="utf-8"?>
<html xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops">
<head><title>One</title><style>p { color: red }</style></head><body>
<section epub:type="chapter"><h1 id="c1">The  Bank</h1>
<p>The river was <em>wide</em><a epub:type="noteref" href="#n1">1</a>, and “nobody” knew.</p>
<hr/><p>Caf&#233; &amp; <ruby>water<rt>wa</rt></ruby>.<span epub:type="pagebreak" title="3"/></p>
<pre>x = 1</pre>
<aside epub:type="footnote" id="n1"><p>Very wide.</p></aside></section>
<h1 id="c2">The Boat</h1><p>Three boats came.</p><p>* * *</p>
<p>Then he left.<sup><a href="#n1">2</a></sup></p>
</body></html>"""
TWO = """<html xmlns="http://www.w3.org/1999/xhtml"><body><h1>The Sea</h1>
<blockquote><p>It is salt.</p></blockquote>
<table><tr><th>Fish</th><th>Weight</th></tr><tr><td>Cod</td><td>3 kg</td></tr></table>
<ul><li>One thing.</li><li><p>Another.</p></li></ul>
<div class="poem">A line,<br/>and another.</div></body></html>"""
DEFAULT_ENTRIES = (
    ("The Bank", "one.xhtml#c1"),
    ("The Boat", "one.xhtml#c2"),
    ("The Sea", "two.xhtml"),
)


def picture() -> bytes:
    """A JPEG."""
    from matplotlib.figure import Figure

    file = io.BytesIO()
    Figure(figsize=(1, 1)).savefig(file, format="jpg")
    return file.getvalue()


def write(
    path: Path, version: int = 3, entries=DEFAULT_ENTRIES, **changed: str | bytes | None
) -> Path:
    """A book of three chapters. `changed` are other contents of its files, by their names with
    underscores; None leaves one out."""
    kinds = {"one.xhtml": "application/xhtml+xml", "two.xhtml": "application/xhtml+xml"}
    files: dict[str, str | bytes] = {"one.xhtml": ONE, "two.xhtml": TWO, "cover.jpg": picture()}
    items = [f'<item id="{n[:3]}" href="{n}" media-type="{k}"/>' for n, k in kinds.items()]
    items.append('<item id="pic" href="cover.jpg" media-type="image/jpeg"/>')
    toc = ""
    if version == 3:
        links = "".join(f'<li><a href="{href}">{title}</a></li>' for title, href in entries)
        files["nav.xhtml"] = NAV.format(entries=links)
        about = 'href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"'
        items.append(f'<item id="nav" {about}/>')
    else:
        points = "".join(
            f"<navPoint><navLabel><text>{title}</text></navLabel><content src='{href}'/></navPoint>"
            for title, href in entries
        )
        files["toc.ncx"] = NCX.format(entries=points)
        items.append('<item id="ncx" href="toc.ncx" media-type="application/x-dtbncx+xml"/>')
        toc = ' toc="ncx"'
    spine = "".join(f'<itemref idref="{name}"/>' for name in ("one", "two"))
    files["book.opf"] = PACKAGE.format(items="".join(items), spine=spine, toc=toc)
    everything = {f"OEBPS/{name}": data for name, data in files.items()}
    everything["META-INF/container.xml"] = CONTAINER
    names = {
        name.replace("/", "_").replace(".", "_").replace("-", "_"): name for name in everything
    }
    for key, data in changed.items():
        name = names.get(key, key.replace("META_INF_", "META-INF/").replace("_xml", ".xml"))
        everything[name] = data
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", "application/epub+zip", zipfile.ZIP_STORED)
        for name, data in everything.items():
            if data is not None:
                archive.writestr(name, data)
    return path
